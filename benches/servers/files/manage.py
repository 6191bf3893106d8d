import sys
import time

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

settings.configure(DEBUG=True, ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", SECRET_KEY="a", DATABASES={})


def answer(request, seconds):
    time.sleep(float(seconds))
    return HttpResponse("ok")


urlpatterns = [path("<seconds>", answer)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
