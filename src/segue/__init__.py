"""Segue turns a log of who did what and when into live recommendations of what each person will want next."""
