"""A charge as a function: PostgreSQL keeps the plans of what is in it, behind any pooler."""

from django.db import migrations

# Without sequential scans: a plan that was made while there were no holds is kept when there are many.
_CREATE = """
CREATE FUNCTION billing_capture(wanted uuid, payer uuid) RETURNS boolean LANGUAGE plpgsql SET enable_seqscan TO off AS $$
DECLARE
    held_for billing_hold;
    left_over bigint;
BEGIN
    DELETE FROM billing_hold WHERE reference = wanted AND account_id = payer RETURNING * INTO held_for;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE billing_creditaccount
    SET balance = balance - held_for.amount, held = held - held_for.amount, updated_at = clock_timestamp()
    WHERE organization_id = payer RETURNING balance INTO left_over;
    INSERT INTO billing_credittransaction
        (reference, account_id, kind, amount, balance_after, program_id, description, created_at)
    VALUES (wanted, payer, 'sms_charge', -held_for.amount, left_over, held_for.program_id, held_for.description,
        clock_timestamp());
    RETURN true;
END $$;
"""


def _on_postgresql(statement):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(statement)

    return run


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_append_only")]
    operations = [
        migrations.RunPython(_on_postgresql(_CREATE), _on_postgresql("DROP FUNCTION billing_capture(uuid, uuid)"))
    ]
