"""What the HTTP API takes and gives, as models that check it and that its OpenAPI is made from."""
