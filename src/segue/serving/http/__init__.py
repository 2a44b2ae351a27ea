"""HTTP layer: listener, protocol, application, authentication, OpenAPI description."""
