package external

import "github.com/creel-run/creel/middleware"

// ReadAnswer reads an answer as Check does.
func ReadAnswer(proto bool, data []byte) (middleware.Answer, error) {
	read := readJSON
	if proto {
		read = readProto
	}
	r, err := read(data)
	if err != nil {
		return middleware.Answer{}, err
	}
	return r.answer()
}
