import sys
import time

import litserve


class Api(litserve.LitAPI):
    def setup(self, device):
        pass

    def predict(self, request):
        time.sleep(request["seconds"])
        return "ok"


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=4)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
