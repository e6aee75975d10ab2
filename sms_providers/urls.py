"""URLs of the App Store, the slugged API and the SMS log, below /api/v1/."""

from django.urls import path

from sms_providers.api import app_store, logs, slugged

urlpatterns = [
    path("app-store", app_store.StoreView.as_view()),
    path("apps", app_store.AppsView.as_view()),
    path("apps/<slug:slug>", app_store.AppView.as_view()),
    path("apps/<slug:slug>/test", app_store.AppTestView.as_view()),
    path("sms-providers/<str:slug>/send", slugged.SendView.as_view()),
    path("sms-providers/<str:slug>/balance", slugged.BalanceView.as_view()),
    path("sms-providers/<str:slug>/sender-names", slugged.SenderNamesView.as_view()),
    path("sms-providers/<str:slug>/template/csv", slugged.CsvTemplateView.as_view()),
    path("sms/logs", logs.LogsView.as_view()),
    path("sms/logs/<uuid:log_id>", logs.LogView.as_view()),
]
