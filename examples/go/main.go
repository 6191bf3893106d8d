// A server in Go that can be replaced under traffic, on the socket of sd_listen_fds(3).
//
// Shutdown and SetKeepAlivesEnabled close every idle connection at once, on which a client may be
// sending its next request. Therefore, after TERM, the server closes each connection with its next
// answer, and an idle connection only after a while without a request.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

const idle = 5 * time.Second // clients should close their idle connections sooner

func main() {
	var stopping atomic.Bool
	var open atomic.Int64
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(10 * time.Millisecond)
			if stopping.Load() {
				w.Header().Set("Connection", "close")
			}
			fmt.Fprint(w, "hello\n")
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Add(-1)
			}
		},
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)

	listener, err := net.FileListener(os.NewFile(3, "listen")) // the first of LISTEN_FDS
	if err != nil {
		log.Fatal("descriptor 3 is no socket: ", err)
	}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	fmt.Println("serving")

	<-terminate
	stopping.Store(true)
	listener.Close() // the new instance accepts from now on
	<-served         // what was just accepted counts as open
	for end := time.Now().Add(idle); open.Load() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	server.Shutdown(context.Background())
}
