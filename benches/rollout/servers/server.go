// Answers /upstream/slow/N after N milliseconds, and every other path after 20 ms. Shuts down on SIGTERM, as many
// servers do.
package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strconv"
	"syscall"
	"time"
)

func main() {
	answer := func(response http.ResponseWriter, request *http.Request) {
		wait, err := strconv.Atoi(path.Base(request.URL.Path))
		if err != nil {
			wait = 20
		}
		time.Sleep(time.Duration(wait) * time.Millisecond)
		response.Write([]byte("hello\n"))
	}
	server := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(answer)}
	stop, over := make(chan os.Signal, 1), make(chan bool)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.Shutdown(context.Background())
		close(over)
	}()
	server.ListenAndServe()
	<-over
}
