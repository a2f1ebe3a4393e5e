/* SPDX-License-Identifier: Apache-2.0
 * One TLS connection as a transport. */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/tls_impl.h"

struct tls {
	struct agi_transport t; /* first: a transport is its tls */
	SSL *ssl;
	bool is_server, is_up;
	bool is_broken;  /* nothing more will come or go */
	bool has_ended;  /* or the peer has said goodbye; */
	bool has_told;   /* a read has said so */
	char reason[64]; /* of is_broken; "" = errno */
};

static struct tls *tls_of(struct agi_transport *t) { return (struct tls *)t; }

/* --- OpenSSL's view of the socket: its own BIO would raise SIGPIPE
 * ---------------------------------------------- */
static int bio_write(BIO *bio, const char *p, size_t n, size_t *done)
{
	struct tls *c = BIO_get_data(bio);
	ssize_t r;

	BIO_clear_retry_flags(bio);
	do
		r = send(c->t.fd, p, n, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		BIO_set_retry_write(bio);
	*done = r > 0 ? (size_t)r : 0;
	return r > 0;
}

static int bio_read(BIO *bio, char *to, size_t n, size_t *got)
{
	struct tls *c = BIO_get_data(bio);
	ssize_t r;

	BIO_clear_retry_flags(bio);
	do
		r = recv(c->t.fd, to, n, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		BIO_set_retry_read(bio);
	if (r == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	*got = r > 0 ? (size_t)r : 0;
	return r > 0;
}

static long bio_ctrl(BIO *bio, int what, long number, void *arg)
{
	(void)number;
	(void)arg;
	if (what == BIO_CTRL_EOF)
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	return what == BIO_CTRL_FLUSH; /* nothing is held back */
}

/* Made once, for the life of the process: OpenSSL frees none of its method tables either. */
static BIO_METHOD *bio_method(void)
{
	static _Atomic(BIO_METHOD *) made;
	BIO_METHOD *m = atomic_load(&made), *none = NULL;

	if (m)
		return m;
	m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "transport");
	if (!m)
		return NULL;
	BIO_meth_set_write_ex(m, bio_write);
	BIO_meth_set_read_ex(m, bio_read);
	BIO_meth_set_ctrl(m, bio_ctrl);
	if (!atomic_compare_exchange_strong(&made, &none, m)) {
		BIO_meth_free(m);
		return none;
	}
	return m;
}

/* --- the transport
 * ----------------------------------------------------------------------------------------- */
static ssize_t broken(struct tls *c, int error)
{
	c->is_broken = true;
	errno = error;
	return -1;
}

/* What a result of SSL_read or SSL_write that is no success means: 0 = the end, -1 with errno. */
static ssize_t outcome(struct tls *c, int result)
{
	int saved = errno;
	ssize_t r = -1;

	switch (SSL_get_error(c->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		errno = EAGAIN;
		break;
	case SSL_ERROR_WANT_WRITE:
		c->t.wants_write = true;
		errno = EAGAIN;
		break;
	case SSL_ERROR_ZERO_RETURN:
		c->has_ended = true;
		r = 0;
		break;
	case SSL_ERROR_SYSCALL:
		r = broken(c, saved ? saved : ECONNRESET);
		break;
	default: /* also an end without goodbye: cut off, by whomever */
		agi_tls_reason(c->reason, sizeof c->reason);
		r = broken(c, EPROTO);
	}
	saved = errno;
	ERR_clear_error();
	errno = saved;
	return r;
}

static ssize_t tls_read(struct agi_transport *t, void *to, size_t n)
{
	struct tls *c = tls_of(t);
	size_t got = 0, more;

	t->wants_write = false;
	c->has_told = c->is_broken || c->has_ended;
	if (c->is_broken)
		return broken(c, EPROTO);
	while (got < n) { /* a record holds at most 16 KiB */
		ssize_t r;
		int ok;

		errno = 0;
		ok = SSL_read_ex(c->ssl, (char *)to + got, n - got, &more);
		if (ok != 1) {
			r = outcome(c, ok);
			return got ? (ssize_t)got : r;
		}
		got += more;
	}
	return (ssize_t)got;
}

/* Writing has failed: the peer may have said why before it hung up. */
static void find_reason(struct tls *c)
{
	int saved = errno;
	char byte;
	size_t n;

	if (!c->reason[0] && SSL_peek_ex(c->ssl, &byte, 1, &n) != 1 &&
	    ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_SSL)
		agi_tls_reason(c->reason, sizeof c->reason);
	ERR_clear_error();
	errno = saved;
}

static ssize_t tls_write(struct agi_transport *t, const void *p, size_t n)
{
	struct tls *c = tls_of(t);
	bool wanted = t->wants_write;
	size_t done = 0;
	int ok;

	if (c->is_broken)
		return broken(c, EPIPE);
	errno = 0;
	ok = SSL_write_ex(c->ssl, p, n, &done);
	if (ok == 1)
		return (ssize_t)done;
	if (outcome(c, ok) == 0)
		errno = EPIPE;
	if (c->is_broken)
		find_reason(c);
	t->wants_write = wanted; /* is of reading only */
	return -1;
}

static size_t tls_pending(const struct agi_transport *t)
{
	const struct tls *c = (const struct tls *)t;
	int n = SSL_pending(c->ssl);

	return n > 0 ? (size_t)n : (c->is_broken || c->has_ended) && !c->has_told;
}

static const char *tls_error(const struct agi_transport *t)
{
	const struct tls *c = (const struct tls *)t;

	return c->is_broken && c->reason[0] ? c->reason : NULL;
}

/* One try: what does not fit into the socket's buffer stays unsaid. */
static void say_goodbye(struct tls *c)
{
	if (c->is_up && !c->is_broken && !(SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN))
		(void)SSL_shutdown(c->ssl);
	ERR_clear_error();
}

static void tls_shutdown(struct agi_transport *t)
{
	say_goodbye(tls_of(t));
	(void)shutdown(t->fd, SHUT_WR);
}

static void tls_free(struct agi_transport *t)
{
	struct tls *c = tls_of(t);

	if (c->ssl) {
		say_goodbye(c);
		SSL_free(c->ssl);
	}
	free(c);
}

static const struct agi_transport_ops ops = {.read = tls_read,
					     .write = tls_write,
					     .pending = tls_pending,
					     .error = tls_error,
					     .shutdown = tls_shutdown,
					     .free = tls_free};

/* --- making one
 * -------------------------------------------------------------------------------------------------
 */
static bool attach(struct tls *c, SSL_CTX *ctx)
{
	BIO_METHOD *m = bio_method();
	BIO *bio;

	c->ssl = SSL_new(ctx);
	bio = c->ssl && m ? BIO_new(m) : NULL;
	if (!bio)
		return false;
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(c->ssl, bio, bio);
	return true;
}

static struct tls *tls_new(SSL_CTX *ctx, struct agi_transport *plain)
{
	struct tls *c = calloc(1, sizeof *c);

	ERR_clear_error();
	if (!c) {
		agi_transport_close(plain);
		return NULL;
	}
	c->t.ops = &ops;
	c->t.fd = agi_transport_release(plain, &c->t.peer.addr);
	c->t.peer.is_tls = true;
	if (c->t.fd < 0 || !attach(c, ctx)) {
		agi_transport_close(&c->t);
		ERR_clear_error();
		return NULL;
	}
	return c;
}

struct agi_transport *agi_tls_accept(const struct agi_tls_server *s, struct agi_transport *plain)
{
	struct tls *c = tls_new(s->ctx, plain);

	if (!c)
		return NULL;
	c->is_server = true;
	SSL_set_accept_state(c->ssl);
	return &c->t;
}

/* The name the certificate must have; and the one the server is told, when it is no address. */
static bool set_name(SSL *ssl, const char *name)
{
	struct agi_addr a;
	struct agi_str s = agi_str_of(name);
	char text[AGI_ADDR_TEXT];

	if (s.n > 2 && name[0] == '[')
		s = (struct agi_str){name + 1, s.n - 2};
	if (memchr(s.p, ':', s.n)) /* agi_addr_parse wants brackets */
		snprintf(text, sizeof text, "[%.*s]", AGI_STR_ARG(s));
	else
		snprintf(text, sizeof text, "%.*s", AGI_STR_ARG(s));
	if (agi_addr_parse(&a, agi_str_of(text), 1, NULL) == AGI_OK) {
		agi_addr_format_ip(text, &a);
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), text) == 1;
	}
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

/* RFC 7301: the length, then the name. */
static bool set_protocol(SSL *ssl, const char *protocol)
{
	unsigned char list[16];
	size_t n = strlen(protocol);

	if (n >= sizeof list)
		return false;
	list[0] = (unsigned char)n;
	memcpy(list + 1, protocol, n);
	return SSL_set_alpn_protos(ssl, list, (unsigned)n + 1) == 0;
}

struct agi_transport *agi_tls_connect(const struct agi_tls_client *client, const char *host,
				      const char *protocol, struct agi_transport *plain)
{
	struct tls *c = tls_new(client->ctx, plain);

	if (!c)
		return NULL;
	SSL_set_connect_state(c->ssl);
	if (!set_protocol(c->ssl, protocol) ||
	    !set_name(c->ssl, client->server_name[0] ? client->server_name : host)) {
		agi_transport_close(&c->t);
		ERR_clear_error();
		return NULL;
	}
	return &c->t;
}

/* --- who the peer is
 * ---------------------------------------------------------------------------------------------- */
/* Keeps a name of a certificate; one that holds NUL is not what it looks like and is left out. */
static void keep_name(struct agi_transport_peer *p, const ASN1_STRING *name)
{
	unsigned char *text = NULL;
	int n = p->n_names < AGI_PEER_NAMES_MAX ? ASN1_STRING_to_UTF8(&text, name) : -1;

	if (n > 0 && !memchr(text, '\0', (size_t)n)) {
		char *copy = strndup((const char *)text, (size_t)n);

		if (copy)
			p->names[p->n_names++] = copy;
	}
	if (n >= 0)
		OPENSSL_free(text);
}

static void keep_common_names(struct agi_transport_peer *p, const X509 *cert)
{
	const X509_NAME *subject = X509_get_subject_name(cert);

	for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, NID_commonName, i)) >= 0;)
		keep_name(p, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
}

static void keep_alternative_names(struct agi_transport_peer *p, const X509 *cert)
{
	GENERAL_NAMES *list = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
		int type;
		void *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(list, i), &type);

		if (type == GEN_DNS || type == GEN_EMAIL || type == GEN_URI)
			keep_name(p, value);
	}
	GENERAL_NAMES_free(list);
}

static void learn_peer(struct tls *c)
{
	X509 *cert = SSL_get0_peer_certificate(c->ssl);

	if (!c->is_server || !cert || SSL_get_verify_result(c->ssl) != X509_V_OK)
		return;
	c->t.peer.has_cert = true;
	keep_common_names(&c->t.peer, cert);
	keep_alternative_names(&c->t.peer, cert);
	ERR_clear_error();
}

/* --- the handshake
 * -------------------------------------------------------------------------------------------- */
static enum agi_tls_step fail(struct tls *c, int error, int saved_errno, struct agi_why *why)
{
	long verified = SSL_get_verify_result(c->ssl);
	char reason[128];

	c->is_broken = true;
	if (verified != X509_V_OK)
		snprintf(reason, sizeof reason, "the %s's certificate: %s",
			 c->is_server ? "client" : "server",
			 X509_verify_cert_error_string(verified));
	else if (error == SSL_ERROR_SYSCALL)
		snprintf(reason, sizeof reason, "%s",
			 saved_errno ? strerror(saved_errno) : "connection closed by the peer");
	else
		agi_tls_reason(reason, sizeof reason);
	(void)agi_fail(why, AGI_E_AUTH, "TLS handshake: %s", reason);
	ERR_clear_error();
	return AGI_TLS_FAILED;
}

enum agi_tls_step agi_tls_handshake(struct agi_transport *t, struct agi_why *why)
{
	struct tls *c = tls_of(t);
	int r, saved;

	errno = 0;
	r = SSL_do_handshake(c->ssl);
	saved = errno;
	if (r == 1) {
		c->is_up = true;
		learn_peer(c);
		return AGI_TLS_DONE;
	}
	switch (SSL_get_error(c->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return AGI_TLS_WANTS_READ;
	case SSL_ERROR_WANT_WRITE:
		return AGI_TLS_WANTS_WRITE;
	default:
		return fail(c, SSL_get_error(c->ssl, r), saved, why);
	}
}

const char *agi_tls_protocol(const struct agi_transport *t)
{
	const unsigned char *p;
	unsigned n;

	SSL_get0_alpn_selected(((const struct tls *)t)->ssl, &p, &n);
	return n == 2 ? "h2" : n ? "http/1.1" : "";
}
