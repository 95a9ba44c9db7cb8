// Connects, sends a stream, and gets it back behind a line that says who answers.
// usage: client ADDRESS PORT; prints: own address and port, those of the peer, who answered, "intact".
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func say(address net.Addr) {
	tcp := address.(*net.TCPAddr)
	fmt.Print(tcp.IP, " ", tcp.Port, " ")
}

func main() {
	connection, err := net.Dial("tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
	check(err)
	say(connection.LocalAddr())
	say(connection.RemoteAddr())
	sent := make([]byte, 1000003)
	for i := range sent {
		sent[i] = byte(i % 251)
	}
	_, err = connection.Write(sent)
	check(err)
	check(connection.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(connection)
	check(err)
	end := bytes.IndexByte(got, '\n')
	intact := "differs"
	if bytes.Equal(got[end+1:], sent) {
		intact = "intact"
	}
	fmt.Println(string(got[:end]), intact)
}
