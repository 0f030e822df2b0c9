"""What ``tools/quickstart.py`` is made of: data, pretraining, figures."""
