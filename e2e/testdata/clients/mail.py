# Sends a mail with Python's own smtplib, which waits for the server to speak
# first and begins TLS later: host. See natives.
import smtplib, ssl, sys

with smtplib.SMTP(sys.argv[1], 587, timeout=20) as s:
    s.ehlo()
    s.starttls(context=ssl.create_default_context(cafile="ca.pem"))
    s.sendmail("lobster@pot.test", ["cook@kitchen.test"], "Subject: water\r\n\r\nIt boils.\r\n" + "x" * 900 + "\r\n")
    print("sent with", s.sock.version())
