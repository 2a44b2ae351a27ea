"""Histories of users and sessions in memory."""
