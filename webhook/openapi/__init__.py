"""The API's description of itself, made from the routes and the models that they work with."""
