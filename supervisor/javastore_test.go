package supervisor

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"testing"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
)

func TestJavaStore(t *testing.T) {
	var bundle []byte
	var want [][]byte
	for i := range 3 {
		der := bytes.Repeat([]byte{byte(i), 7}, 100+50*i)
		want = append(want, der)
		bundle = append(bundle, fmt.Sprintf("# comment %d\n", i)...)
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	bundle = append(bundle, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\ncut off"...)
	store := keystore.New()
	made := newJavaStore(len(bundle))
	made.add(bundle)
	if err := store.Load(bytes.NewReader(made.bytes()), []byte(javaPassword)); err != nil {
		t.Fatal(err)
	}
	if got := len(store.Aliases()); got != len(want) {
		t.Errorf("%d certificates, wanted %d", got, len(want))
	}
	for i, der := range want {
		e, err := store.GetTrustedCertificateEntry(fmt.Sprintf("creel-%d", i))
		if err != nil || !bytes.Equal(e.Certificate.Content, der) {
			t.Errorf("certificate %d: %v", i, err)
		}
	}
}
