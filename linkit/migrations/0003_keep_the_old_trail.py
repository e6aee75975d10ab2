"""What was written before entries had an organization: superusers go on seeing it."""

from django.db import migrations

_OLD = "INSERT INTO linkit_auditentry (logentry_ptr_id) SELECT id FROM django_admin_log"


class Migration(migrations.Migration):
    dependencies = [("linkit", "0002_audit_entries_of_an_organization")]

    operations = [migrations.RunSQL(_OLD, migrations.RunSQL.noop)]
