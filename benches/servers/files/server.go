package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		seconds, _ := strconv.ParseFloat(request.URL.Path[1:], 64)
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		answer.Write([]byte("ok"))
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Args[1]}
	over := make(chan bool)
	if len(os.Args) > 2 {
		asked, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		go func() {
			<-asked.Done()
			server.Shutdown(context.Background())
			close(over)
		}()
	}
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		panic(err)
	}
	<-over
}
