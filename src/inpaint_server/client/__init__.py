"""Adverts from Python: `Client` and `AsyncClient` for a server's URL or a SageMaker endpoint's name. No torch.

from inpaint_server.client import Client

with Client("http://localhost:8080") as client:
    result = client.advert("coffee.jpg", background_prompt="a brick wall", foreground_prompt="a wooden table")
result.image.save("advert.png")
"""

from inpaint_server.client.client import AsyncClient, Client
from inpaint_server.client.fields import Fields, Photo
from inpaint_server.client.response import RawResponse
from inpaint_server.client.result import Layers, Picture, Result
from inpaint_server.client.retry import Retry

__all__ = ["AsyncClient", "Client", "Fields", "Layers", "Photo", "Picture", "RawResponse", "Result", "Retry"]
