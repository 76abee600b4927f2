package tokengrpc

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// TLSFiles names files in PEM form. Empty names stand for none.
type TLSFiles struct {
	CA   string // certificates of the authorities to trust; none: those of the system
	Cert string // the client's own certificate with its chain, for a server that requires one
	Key  string // the key of Cert; none: it is in the same file
}

// TLS returns an option to connect with TLS. The client's certificate is read again for each connection, so a renewed one
// needs no new client; the authorities are read once.
//
// For other needs, pass grpc.WithTransportCredentials.
func TLS(files TLSFiles) (grpc.DialOption, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if files.CA != "" {
		authorities, err := os.ReadFile(files.CA)
		if err != nil {
			return nil, fmt.Errorf("tokengrpc: the authorities cannot be read: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("tokengrpc: %s contains no certificate in PEM form", files.CA)
		}
	}
	if files.Key != "" && files.Cert == "" {
		return nil, fmt.Errorf("tokengrpc: the key %s needs a certificate", files.Key)
	}
	if files.Cert != "" {
		if _, err := files.pair(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return files.pair() }
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(config)), nil
}

func (files TLSFiles) pair() (*tls.Certificate, error) {
	key := files.Key
	if key == "" {
		key = files.Cert
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, key)
	if err != nil {
		return nil, fmt.Errorf("tokengrpc: the client certificate %s cannot be used: %w", files.Cert, err)
	}
	return &pair, nil
}
