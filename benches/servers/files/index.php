<?php
usleep((int) (1e6 * (float) substr($_SERVER["REQUEST_URI"], 1)));
echo "ok";
