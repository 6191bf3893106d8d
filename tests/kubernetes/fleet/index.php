<?php
usleep(100000);
header('Content-Length: 6');
echo "hello\n";
