/* SPDX-License-Identifier: Apache-2.0
 * Certificates and keys: from files into what connections are made with. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/tls_impl.h"

/* TLS 1.2: ephemeral keys and AEAD only. The suites of 1.3 are all like that. */
static const char suites[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

void agi_tls_reason(char *out, size_t n)
{
	unsigned long e =
	    ERR_peek_error(); /* the cause; what follows it is less and less to the point */
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	if (reason)
		snprintf(out, n, "%s", reason);
	else if (e && ERR_SYSTEM_ERROR(e))
		snprintf(out, n, "%s", strerror(ERR_GET_REASON(e)));
	else
		snprintf(out, n, "TLS error");
	ERR_clear_error();
}

static enum agi_err bad_file(struct agi_why *why, const char *what, const char *path)
{
	char reason[128];

	if (access(path, R_OK) != 0) {
		snprintf(reason, sizeof reason, "%s", strerror(errno));
		ERR_clear_error();
	} else {
		agi_tls_reason(reason, sizeof reason);
	}
	return agi_fail(why, AGI_E_INVALID, "%s %s: %s (expected PEM)", what, path, reason);
}

static enum agi_err no_memory(struct agi_why *why)
{
	ERR_clear_error();
	return agi_fail(why, AGI_E_NOMEM, "out of memory");
}

/* --- files that may change
 * ---------------------------------------------------------------------------- */
static struct agi_tls_stamp stamp_of(const char *path)
{
	struct stat st;

	if (!path[0] || stat(path, &st) != 0)
		return (struct agi_tls_stamp){0};
	return (struct agi_tls_stamp){st.st_dev, st.st_ino, (uint64_t)st.st_size, st.st_mtim.tv_sec,
				      st.st_mtim.tv_nsec};
}

static bool have_changed(struct agi_tls_files *f)
{
	const char *const paths[3] = {f->ca, f->cert, f->key};
	bool has_changed = false;

	for (int i = 0; i < 3; i++) {
		struct agi_tls_stamp now = stamp_of(paths[i]);

		has_changed |= memcmp(&now, &f->stamps[i], sizeof now) != 0;
		f->stamps[i] = now;
	}
	return has_changed;
}

static char *copy_of(const char *text) { return strdup(text ? text : ""); }

/* Looks at them before they are read: a later change is never missed. */
static bool name_files(struct agi_tls_files *f, const char *ca, const char *cert, const char *key)
{
	f->ca = copy_of(ca);
	f->cert = copy_of(cert);
	f->key = copy_of(key);
	if (!f->ca || !f->cert || !f->key)
		return false;
	(void)have_changed(f);
	return true;
}

static void forget_files(struct agi_tls_files *f)
{
	free(f->ca);
	free(f->cert);
	free(f->key);
}

/* --- what server and client have in common
 * ------------------------------------------------------------------- */
/* No key is ever asked for on a terminal. */
static int no_passphrase(char *to, int n, int is_writing, void *arg)
{
	(void)to;
	(void)n;
	(void)is_writing;
	(void)arg;
	return -1;
}

static SSL_CTX *new_ctx(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx)
		return NULL;
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				     SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				  SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_max_cert_list(ctx, AGI_TLS_CHAIN_BYTES_MAX);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, suites) != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static enum agi_err check_times(SSL_CTX *ctx, const char *path, struct agi_why *why)
{
	X509 *cert = SSL_CTX_get0_certificate(ctx);

	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		return agi_fail(why, AGI_E_INVALID,
				"certificate %s: not valid yet (is the clock right?)", path);
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		return agi_fail(why, AGI_E_INVALID, "certificate %s: has expired", path);
	return AGI_OK;
}

static enum agi_err load_pair(SSL_CTX *ctx, const char *cert, const char *key, struct agi_why *why)
{
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return bad_file(why, "certificate", cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
			goto mismatch;
		return bad_file(why, "key", key);
	}
	if (SSL_CTX_check_private_key(ctx) != 1)
		goto mismatch;
	return check_times(ctx, cert, why);
mismatch:
	ERR_clear_error();
	return agi_fail(why, AGI_E_INVALID, "key %s is not the key of certificate %s", key, cert);
}

/* --- listeners
 * -------------------------------------------------------------------------------------------- */
/* The server's choice of a protocol: h2 where the client knows it. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_bytes,
			   const unsigned char *offered, unsigned offered_bytes, void *arg)
{
	static const unsigned char ours[] = "\x02h2\x08http/1.1";
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_bytes, ours, sizeof ours - 1, offered,
				  offered_bytes) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static enum agi_err load_client_ca(SSL_CTX *ctx, const struct agi_tls_server *s,
				   struct agi_why *why)
{
	STACK_OF(X509_NAME) * names;

	if (!s->files.ca[0])
		return AGI_OK;
	names = SSL_load_client_CA_file(s->files.ca);
	if (!names || SSL_CTX_load_verify_file(ctx, s->files.ca) != 1) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return bad_file(why, "client CA", s->files.ca);
	}
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify(
	    ctx, SSL_VERIFY_PEER | (s->require_client_cert ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
	    NULL);
	return AGI_OK;
}

static enum agi_err load_server(const struct agi_tls_server *s, SSL_CTX **out, struct agi_why *why)
{
	SSL_CTX *ctx;
	enum agi_err e;

	ERR_clear_error();
	ctx = new_ctx(TLS_server_method());
	if (!ctx)
		return no_memory(why);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	e = load_pair(ctx, s->files.cert, s->files.key, why);
	if (!e)
		e = load_client_ca(ctx, s, why);
	if (e)
		SSL_CTX_free(ctx);
	else
		*out = ctx;
	ERR_clear_error();
	return e;
}

bool agi_tls_server_has_changed(struct agi_tls_server *s) { return have_changed(&s->files); }

enum agi_err agi_tls_server_new(const struct agi_tls_server_cfg *cfg, struct agi_tls_server **out,
				struct agi_why *why)
{
	struct agi_tls_server *s = calloc(1, sizeof *s);
	enum agi_err e;

	if (!s)
		return no_memory(why);
	s->require_client_cert = cfg->require_client_cert;
	if (!name_files(&s->files, cfg->client_ca_file, cfg->cert_file, cfg->key_file))
		e = no_memory(why);
	else if (s->require_client_cert && !s->files.ca[0])
		e = agi_fail(why, AGI_E_INVALID,
			     "client certificates are required, but no client CA file is given");
	else
		e = load_server(s, &s->ctx, why);
	if (e)
		agi_tls_server_free(s);
	else
		*out = s;
	return e;
}

void agi_tls_server_free(struct agi_tls_server *s)
{
	if (!s)
		return;
	SSL_CTX_free(s->ctx);
	forget_files(&s->files);
	free(s);
}

enum agi_err agi_tls_server_reload(struct agi_tls_server *s, struct agi_why *why)
{
	SSL_CTX *ctx = NULL;
	enum agi_err e;

	(void)have_changed(&s->files);
	e = load_server(s, &ctx, why);
	if (e)
		return e;
	SSL_CTX_free(s->ctx); /* connections hold it as long as they need it */
	s->ctx = ctx;
	return AGI_OK;
}

int64_t agi_tls_server_expires_s(const struct agi_tls_server *s)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(s->ctx)), &tm) != 1)
		return 0;
	return timegm(&tm);
}

/* --- clients
 * ---------------------------------------------------------------------------------------------- */
static enum agi_err fill_client(SSL_CTX *ctx, const struct agi_tls_files *f, struct agi_why *why)
{
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (!f->cert[0] != !f->key[0])
		return agi_fail(why, AGI_E_INVALID,
				"a client certificate and its key go together: %s is missing",
				f->cert[0] ? "the key" : "the certificate");
	if (f->ca[0] ? SSL_CTX_load_verify_file(ctx, f->ca) != 1
		     : SSL_CTX_set_default_verify_paths(ctx) != 1)
		return bad_file(why, "CA", f->ca[0] ? f->ca : "of the system");
	return f->cert[0] ? load_pair(ctx, f->cert, f->key, why) : AGI_OK;
}

static enum agi_err load_client(const struct agi_tls_client *c, SSL_CTX **out, struct agi_why *why)
{
	SSL_CTX *ctx;
	enum agi_err e;

	ERR_clear_error();
	ctx = new_ctx(TLS_client_method());
	if (!ctx)
		return no_memory(why);
	e = fill_client(ctx, &c->files, why);
	if (e)
		SSL_CTX_free(ctx);
	else
		*out = ctx;
	ERR_clear_error();
	return e;
}

enum agi_err agi_tls_client_new(const struct agi_tls_client_cfg *cfg, struct agi_tls_client **out,
				struct agi_why *why)
{
	struct agi_tls_client *c = calloc(1, sizeof *c);
	enum agi_err e;

	if (!c)
		return no_memory(why);
	c->server_name = copy_of(cfg->server_name);
	if (!name_files(&c->files, cfg->ca_file, cfg->cert_file, cfg->key_file) || !c->server_name)
		e = no_memory(why);
	else
		e = load_client(c, &c->ctx, why);
	if (e)
		agi_tls_client_free(c);
	else
		*out = c;
	return e;
}

void agi_tls_client_free(struct agi_tls_client *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ctx);
	forget_files(&c->files);
	free(c->server_name);
	free(c);
}

bool agi_tls_client_has_changed(struct agi_tls_client *c) { return have_changed(&c->files); }

enum agi_err agi_tls_client_reload(struct agi_tls_client *c, struct agi_why *why)
{
	SSL_CTX *ctx = NULL;
	enum agi_err e;

	(void)have_changed(&c->files);
	e = load_client(c, &ctx, why);
	if (e)
		return e;
	SSL_CTX_free(c->ctx);
	c->ctx = ctx;
	return AGI_OK;
}
