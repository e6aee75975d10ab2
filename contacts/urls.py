"""URLs of contacts, their attributes, audiences and programs, and of the single SMS, below /api/."""

from django.urls import path

from contacts import api, attribute_api, audience_api, program_api, single_api

urlpatterns = [
    path("contact", api.ContactsView.as_view()),
    path("contact/upsert", api.UpsertView.as_view()),
    path("contact/<str:contact_id>", api.ContactView.as_view()),
    path("custom-attributes", attribute_api.AttributesView.as_view()),
    path("custom-attributes/<str:attribute_id>", attribute_api.AttributeView.as_view()),
    path("audience", audience_api.AudiencesView.as_view()),
    path("audience/<str:audience_id>", audience_api.AudienceView.as_view()),
    path("audience/<str:audience_id>/contacts", audience_api.AudienceContactsView.as_view()),
    path("sms/send", single_api.SendToContactView.as_view()),
    path("sms/preview", single_api.PreviewView.as_view()),
    path("sms-programs", program_api.ProgramsView.as_view()),
    path("sms-programs/<str:program_id>", program_api.ProgramView.as_view()),
    path("sms-programs/<str:program_id>/launch", program_api.LaunchView.as_view()),
    path("sms-programs/<str:program_id>/cancel", program_api.CancelView.as_view()),
    path("sms-programs/<str:program_id>/resume", program_api.ResumeView.as_view()),
]
