"""URLs of credits, below /api/."""

from django.urls import path

from billing import api

urlpatterns = [
    path("credits/balance", api.CreditBalanceView.as_view()),
    path("credits/transactions", api.TransactionsView.as_view()),
]
