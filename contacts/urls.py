"""URLs of contacts, their attributes, audiences and programs, and of the single SMS, below /api/."""

from django.urls import path

from contacts import program_api, single_api

urlpatterns = [
    path("sms/send", single_api.SendToContactView.as_view()),
    path("sms/preview", single_api.PreviewView.as_view()),
    path("sms-programs", program_api.ProgramsView.as_view()),
    path("sms-programs/<str:program_id>", program_api.ProgramView.as_view()),
    path("sms-programs/<str:program_id>/launch", program_api.LaunchView.as_view()),
    path("sms-programs/<str:program_id>/cancel", program_api.CancelView.as_view()),
    path("sms-programs/<str:program_id>/resume", program_api.ResumeView.as_view()),
]
