/* SPDX-License-Identifier: Apache-2.0
 * For tests of TLS: a directory of certificates of their own, made at test time, and removed.
 * Aborts when it cannot: it is a test. */
#ifndef AGI_TESTS_CERTS_H
#define AGI_TESTS_CERTS_H

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct certs {
	char dir[64];
	char *path[24]; /* what certs_path gives out, in turn */
	unsigned n_path;
};

struct certs_ca {
	X509 *cert;
	EVP_PKEY *key;
};

static inline void certs_must(bool ok)
{
	if (!ok)
		abort();
}

/* DIR/NAME; valid until 24 more have been asked for. */
static inline const char *certs_path(struct certs *c, const char *name)
{
	char **to = &c->path[c->n_path++ % 24];

	free(*to);
	certs_must(asprintf(to, "%s/%s", c->dir, name) > 0);
	return *to;
}

static inline void certs_extend(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	certs_must(x && X509_add_ext(cert, x, -1));
	X509_EXTENSION_free(x);
}

/* NAME.crt and NAME.key: common name cn, alternative names san (NULL: none), valid from .. to in
 * seconds from now, signed by ca (NULL: by itself, an authority). */
static inline struct certs_ca certs_make(struct certs *c, const char *name, const char *cn,
					 const char *san, long from_s, long to_s,
					 const struct certs_ca *ca)
{
	static long serial;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *subject = X509_get_subject_name(cert);
	char *file;
	FILE *f;

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial + getpid());
	X509_gmtime_adj(X509_getm_notBefore(cert), from_s);
	X509_gmtime_adj(X509_getm_notAfter(cert), to_s);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1,
				   0);
	X509_set_issuer_name(cert, ca ? X509_get_subject_name(ca->cert) : subject);
	certs_extend(cert, NID_basic_constraints, ca ? "CA:FALSE" : "critical,CA:TRUE");
	if (san)
		certs_extend(cert, NID_subject_alt_name, san);
	certs_must(X509_sign(cert, ca ? ca->key : key, EVP_sha256()) > 0);
	certs_must(asprintf(&file, "%s.crt", name) > 0);
	f = fopen(certs_path(c, file), "w");
	free(file);
	certs_must(f && PEM_write_X509(f, cert) && fclose(f) == 0);
	certs_must(asprintf(&file, "%s.key", name) > 0);
	f = fopen(certs_path(c, file), "w");
	free(file);
	certs_must(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) && fclose(f) == 0);
	return (struct certs_ca){cert, key};
}

static inline void certs_forget(struct certs_ca ca)
{
	X509_free(ca.cert);
	EVP_PKEY_free(ca.key);
}

static inline void certs_open(struct certs *c)
{
	*c = (struct certs){.dir = "/tmp/agi-certs-XXXXXX"};
	certs_must(mkdtemp(c->dir) != NULL);
}

static inline void certs_close(struct certs *c)
{
	char command[96];

	snprintf(command, sizeof command, "rm -rf '%s'", c->dir);
	certs_must(system(command) == 0);
	for (unsigned i = 0; i < 24; i++)
		free(c->path[i]);
}

#endif
