from django.db import migrations


def drop_pattern_index(apps, schema_editor):
    """Drop the index for LIKE that Django adds to a text key on PostgreSQL: nobody searches for a part of an id.

    Rows are written again and again while a message is sent, and each index with them.
    """
    connection, table = schema_editor.connection, "sms_providers_smslog"
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
    for name, facts in found.items():
        if name.endswith("_like") and facts["columns"] == ["queued_id"]:
            schema_editor.execute(f'DROP INDEX "{name}"')


class Migration(migrations.Migration):
    dependencies = [("sms_providers", "0004_look_ups_and_retention")]

    operations = [migrations.RunPython(drop_pattern_index, migrations.RunPython.noop)]
