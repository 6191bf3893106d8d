<?php
// A job that says when it begins and ends, as job.py does.
function work(int $number, float $seconds): void
{
    $began = microtime(true);
    $path = getenv("JOBS") . "/$number-$began";
    file_put_contents($path, "begun $began\n");
    while (($left = $began + $seconds - microtime(true)) > 0) {
        touch($path);
        usleep((int) (1e6 * min($left, 0.1)));
    }
    file_put_contents($path, "ended " . microtime(true) . "\n", FILE_APPEND);
}
