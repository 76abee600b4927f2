package tokengrpc

import "strings"

// handshakes has words of grpc-go's messages about connections that could not be opened, each with the name of the text
// that says what to do. The first one that occurs counts.
var handshakes = []struct{ words, text string }{
	{"tls: failed to verify certificate", "certificate refused"},
	{"first record does not look like a TLS handshake", "server without TLS"},
	// A frozen server: the client itself gave up.
	{"use of closed network connection", "server unreachable"},
	// With TLS 1.3, a server that misses the client's certificate just closes the connection, as it does for a client
	// without TLS. Whether reading or writing notices it is a matter of chance.
	{"error reading server preface", "closed at once"},
	{"write: broken pipe", "closed at once"},
	{"write: connection reset by peer", "closed at once"},
}

// unreachable returns what to do about a server to which no connection could be opened.
func unreachable(message string) string {
	for _, known := range handshakes {
		if strings.Contains(message, known.words) {
			return errorTexts[known.text]
		}
	}
	return errorTexts["server unreachable"]
}
