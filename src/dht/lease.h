/* SPDX-License-Identifier: Apache-2.0
 * Leases: lease.c (what clients ask for), lease_look.c (does an item count?), lease_sweep.c (who ends what has expired and
 * clears up after it). Private to src/dht. Decision 0015 says why it is so.
 *
 * A lease is a strong register that its holder renews, and that is deleted when it ends; its id is never given again. An
 * item that is put with a lease carries its id, and counts only while that register is there: a strong operation that
 * meets such an item looks at the lease and, when it is gone, deletes the item under its version and begins anew.
 *
 * No clock is compared with another's:
 *
 *  - The holder counts from the moment it sent the renewal that succeeded: until then + ttl it holds the lease.
 *  - A member of the lease's slot counts from the moment it first saw the present version. When it has seen no other for
 *    the ttl, and a little for clocks that run at other rates (a 64th and 100 ms), it deletes the lease under the
 *    condition that the version is still that one. The version was made after the renewal was sent, and seen after
 *    it was made; so the end comes after the holder's time is over. */
#ifndef AGI_DHT_LEASE_H
#define AGI_DHT_LEASE_H

#include "dht/inner.h"
#include "dht/lease_record.h"

/* --- lease.c: GRANT, RENEW, REVOKE, LEASE; PUT and CAS with a lease; LOCK --- */
void agi_lease_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_leases_free(struct agi_dht *d);

/* --- lease_look.c --- */
/* OK: the lease of what was met holds. NOT_FOUND: it has ended; the operation is to begin
 * anew, and finds the item deleted or changed. Other errors: it could not be learned. res: as given to start, valid until fn returns. */
typedef void agi_lease_look_fn(struct agi_dht *d, void *arg, enum agi_err err, struct agi_result *res);
struct agi_lease_look;
/* met: of the item ns, key: version, lease, value (copied). fn once, never before return, unless cancelled. NULL when out of
 * memory. */
struct agi_lease_look *agi_lease_look_start(struct agi_dht *d, struct agi_str ns, struct agi_str key,
                                            const struct agi_result *met, uint32_t timeout_ms,
                                            agi_lease_look_fn *fn, void *arg);
void agi_lease_look_cancel(struct agi_lease_look *l);

/* --- lease_sweep.c --- */
void agi_lease_sweep_init(struct agi_dht *d);
void agi_lease_sweep_start(struct agi_dht *d);
void agi_lease_sweep_free(struct agi_dht *d);
/* For rpc.c: every storage request passes by. */
struct agi_lease_note;
struct agi_lease_note *agi_lease_note_new(const struct agi_storage_req *req);
void agi_lease_note_apply(struct agi_dht *d, const struct agi_lease_note *n, const struct agi_storage_done *done);
void agi_lease_note_free(struct agi_lease_note *n);

#endif
