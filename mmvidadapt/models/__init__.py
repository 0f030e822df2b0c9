"""Encoders, adapters, backbones, necks, heads and recognizers."""
