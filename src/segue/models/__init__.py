"""The models floor: what scores items; each a small final class."""
