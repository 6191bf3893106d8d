#!/bin/sh
# Writes more than the 16 KiB that drainit keeps of a process's lines, and becomes the command of its arguments: so as
# much is kept after the first round as hours later, and memory that grows then has another cause.
yes 'one of the lines that drainit keeps' | head -n 500
exec "$@"
