"""Contacts are found by any part of a name, an address or a number, and listed in several orders."""

from django.core.management.base import CommandError
from django.db import migrations, models
from django.db.utils import DatabaseError

_LIVE = models.Q(("deleted_at__isnull", True))
_NO_TRIGRAMS = (
    "The search in contacts needs PostgreSQL's extension pg_trgm, and it could not be made: {error}\n"
    "It comes with PostgreSQL, on some systems in the package postgresql-contrib. Let an owner of this database run"
    " CREATE EXTENSION pg_trgm; in it, then run migrate again."
)
_LISTS = {
    "contact_by_organization": "created_at",
    "contact_by_update": "updated_at",
    "contact_by_first_name": "first_name",
    "contact_by_last_name": "last_name",
}
_LIST = "CREATE INDEX {name} ON contacts_contact (organization_id, {column}, id) {included} WHERE deleted_at IS NULL"
_SEARCH = """
    CREATE INDEX contact_search ON contacts_contact
    USING gin (search_text {schema}.gin_trgm_ops, search_pieces {schema}.gin_trgm_ops) WHERE deleted_at IS NULL
"""
# An index alone answers where VACUUM has been since, which by default waits for a fifth of new rows.
_VACUUM_OFTEN = "ALTER TABLE contacts_contact SET (autovacuum_vacuum_insert_scale_factor = 0.01)"
_VACUUM_AS_USUAL = "ALTER TABLE contacts_contact RESET (autovacuum_vacuum_insert_scale_factor)"


def _lists(schema_editor, *, included):
    """Make the indexes of lists anew. With the text in them a search goes through a list and leaves the table alone."""
    for name, column in _LISTS.items():
        schema_editor.execute(f"DROP INDEX {name}")
        schema_editor.execute(_LIST.format(name=name, column=column, included=included))


def make_fast(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        try:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except DatabaseError as error:
            raise CommandError(_NO_TRIGRAMS.format(error=str(error).strip())) from error
        # Somebody may have made it where the search path does not lead.
        cursor.execute("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_trgm'")
        (schema,) = cursor.fetchone()
    schema_editor.execute(_SEARCH.format(schema=schema))
    schema_editor.execute(_VACUUM_OFTEN)
    _lists(schema_editor, included="INCLUDE (search_text)")


def make_slow(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        _lists(schema_editor, included="")
        schema_editor.execute(_VACUUM_AS_USUAL)
        schema_editor.execute("DROP INDEX contact_search")


class Migration(migrations.Migration):
    dependencies = [("contacts", "0001_contacts")]

    operations = [
        migrations.AddField(
            model_name="contact",
            name="search_pieces",
            field=models.TextField(default="", editable=False, help_text="What finds one or two characters in it."),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="contact",
            name="search_text",
            field=models.TextField(editable=False, help_text="What a search looks through; see contacts.folding."),
        ),
        migrations.RemoveIndex(model_name="contact", name="contact_by_organization"),
        migrations.AddIndex(
            model_name="contact",
            index=models.Index(
                condition=_LIVE, fields=["organization", "created_at", "id"], name="contact_by_organization"
            ),
        ),
        migrations.AddIndex(
            model_name="contact",
            index=models.Index(condition=_LIVE, fields=["organization", "updated_at", "id"], name="contact_by_update"),
        ),
        migrations.AddIndex(
            model_name="contact",
            index=models.Index(
                condition=_LIVE, fields=["organization", "first_name", "id"], name="contact_by_first_name"
            ),
        ),
        migrations.AddIndex(
            model_name="contact",
            index=models.Index(
                condition=_LIVE, fields=["organization", "last_name", "id"], name="contact_by_last_name"
            ),
        ),
        migrations.RunPython(make_fast, make_slow),
    ]
