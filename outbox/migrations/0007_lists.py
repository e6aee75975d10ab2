from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("outbox", "0006_fewer_indexes")]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("status__in", ["failed", "dispatch_timeout"])),
                fields=["status", "organization", "-created_at", "-id"],
                name="outbox_not_sent",
            ),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("is_test", True)),
                fields=["organization", "-created_at", "-id"],
                name="outbox_tests",
            ),
        ),
    ]
