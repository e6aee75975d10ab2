from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("outbox", "0004_turns"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("reason__in", ("cancelled", "expired")), ("status", "failed")),
                fields=["id"],
                name="outbox_called_off",
            ),
        ),
    ]
