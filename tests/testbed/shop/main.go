// Copyright The Squall Authors
// SPDX-License-Identifier: Apache-2.0

// Command shop is the test bed's workload with exact behaviours, and, with --witness, an independent client that measures what
// users of a workload saw.
//
// As a server it answers on --port:
//
//	/         --status (200 unless told otherwise), 503 until it is ready; `?status=503` asks for another answer
//	/healthz  200 once ready, also while it drains: what a client or a naive kubelet probe asks
//	/readyz   200 once ready, 503 while it drains
//	/livez    200 from the start
//
// On the same port it speaks HTTP/2 without TLS (prior knowledge), and gRPC's health service there: SERVING when /healthz is 200.
//
// On SIGTERM it keeps serving for --drain, then finishes what is in flight and exits with 0. With --drain 0 it is as rude as a
// server without a signal handler: connections and listener die at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// never is a duration that no test outlives.
const never = time.Duration(1<<63 - 1)

// finishWithin bounds how long requests in flight may take after the drain.
const finishWithin = 2 * time.Second

type shop struct {
	name     string
	status   int
	delay    time.Duration
	ready    atomic.Bool
	draining atomic.Bool
}

func main() {
	var witness witnessOptions
	port := flag.Int("port", 8080, "port to serve HTTP on")
	readyAfter := flag.String("ready-after", "0s", "time from start until ready, or never")
	drain := flag.Duration("drain", 0, "keep serving this long after SIGTERM; 0 dies at once")
	status := flag.Int("status", http.StatusOK, "status of /")
	delay := flag.Duration("delay", 0, "time that / takes to answer")
	witness.register(flag.CommandLine)
	flag.Parse()

	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case witness.url != "":
		err = watch(witness)
	default:
		err = serve(*port, *readyAfter, *drain, *status, *delay)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func serve(port int, readyAfter string, drain time.Duration, status int, delay time.Duration) error {
	// Caught before anything else: pid 1 of a container ignores a signal that it has no handler for.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)

	wait, err := parseReadyAfter(readyAfter)
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	s := &shop{name: name, status: status, delay: delay}
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	note("listening")
	if wait != never {
		time.AfterFunc(wait, func() { s.ready.Store(true); note("ready") })
	}

	select {
	case err := <-failed:
		return err
	case received := <-signals:
		note(received.String())
	}
	if drain == 0 {
		os.Exit(0) // the kernel closes every socket in this instant
	}
	s.draining.Store(true)
	time.Sleep(drain)
	ctx, cancel := context.WithTimeout(context.Background(), finishWithin)
	defer cancel()
	err = server.Shutdown(ctx)
	note("drained")
	return err
}

func parseReadyAfter(text string) (time.Duration, error) {
	if text == "never" {
		return never, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 {
		return 0, errors.New("--ready-after is a duration such as 5s, or never")
	}
	return wait, nil
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.front)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, http.StatusOK) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.draining.Load() {
			s.reply(w, http.StatusServiceUnavailable)
			return
		}
		s.answer(w, http.StatusOK)
	})
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { s.reply(w, http.StatusOK) })
	mux.HandleFunc("POST /grpc.health.v1.Health/Check", s.health)
	return mux
}

// health answers a check of gRPC's health service, for any service: a message of one field, behind its five bytes of frame.
func (s *shop) health(w http.ResponseWriter, r *http.Request) {
	const serving, notServing = 1, 2
	_, _ = io.Copy(io.Discard, r.Body)
	state := byte(notServing)
	if s.ready.Load() {
		state = serving
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write([]byte{0, 0, 0, 0, 2, 0x08, state})
	w.Header().Set("Grpc-Status", "0")
}

func (s *shop) front(w http.ResponseWriter, r *http.Request) {
	time.Sleep(s.delay)
	status := s.status
	if asked := r.URL.Query().Get("status"); asked != "" {
		parsed, err := strconv.Atoi(asked)
		if err != nil || parsed < 200 || parsed > 599 {
			parsed = http.StatusBadRequest
		}
		status = parsed
	}
	s.answer(w, status)
}

// answer gives the status, or 503 as long as the shop is not ready.
func (s *shop) answer(w http.ResponseWriter, status int) {
	if !s.ready.Load() {
		status = http.StatusServiceUnavailable
	}
	s.reply(w, status)
}

func (s *shop) reply(w http.ResponseWriter, status int) {
	if s.draining.Load() {
		// Sends kept-alive clients elsewhere after an answer, never between two: closing an idle connection races with the
		// next request on it.
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	if status != http.StatusNoContent && status != http.StatusNotModified {
		fmt.Fprintln(w, s.name)
	}
}

// note logs what happened and when, in nanoseconds of CLOCK_REALTIME, so that a test can put it beside its own clock.
func note(what string) {
	fmt.Printf("{\"at\":%d,\"shop\":%q}\n", time.Now().UnixNano(), what)
}
