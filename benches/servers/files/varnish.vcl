vcl 4.1;
backend app { .host = "127.0.0.1"; .port = "BEHIND"; .max_connections = 1000; }
sub vcl_recv { return (pass); }
