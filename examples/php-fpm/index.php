<?php
// Answers after 100 ms. With `?work=SECONDS` it works on after the answer, as an app does that sends a mail.
usleep(100000);
header('Content-Length: 6');
echo "hello\n";
fastcgi_finish_request();

if (isset($_GET['work'])) {
    for ($end = microtime(true) + $_GET['work']; microtime(true) < $end;) {
        usleep(10000); // the signal of a stop ends a sleep
    }
    error_log('the work after the answer is done');
}
