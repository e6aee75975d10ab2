"""The ledger is written once: PostgreSQL refuses to change or delete an entry, whoever asks."""

from django.db import migrations

_PROTECT = """
CREATE FUNCTION billing_ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The ledger is append-only: correct a balance with an adjustment.'
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER billing_ledger_append_only BEFORE UPDATE OR DELETE ON billing_credittransaction
    FOR EACH ROW EXECUTE FUNCTION billing_ledger_is_append_only();
"""
_UNPROTECT = """
DROP TRIGGER billing_ledger_append_only ON billing_credittransaction;
DROP FUNCTION billing_ledger_is_append_only();
"""


def _on_postgresql(statement):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(statement)

    return run


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_ledger")]
    operations = [migrations.RunPython(_on_postgresql(_PROTECT), _on_postgresql(_UNPROTECT))]
