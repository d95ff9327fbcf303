// EV1, the base's end of the line protocol: freshness, integrity and acknowledgement for a base of your own making.
//
// Whole protocol, no board: bytes and milliseconds go in, wanted velocities and lines come out. Integers only, no heap, no library, C++11, so
// the very file that an Arduino compiles is compiled and tested on the host. Axes: x forward, y left, turn counter-clockwise.
//
//   host  V <seq> <x mm/s> <y mm/s> <turn mrad/s> <ttl ms> *<crc>   drive so for at most ttl
//         H *<crc>                                                  hello: stop, disarm, forget seq
//         R <nonce> *<crc>                                          arm, or clear a latch: the nonce is the one reported now
//         S *<crc>                                                  stop and latch
//   base  B 1 *<crc>                                                booted; 1 is the version
//         A <ms> <seq> <state> <nonce> <mV> <flags> <rejected> <counter>... *<crc>   every 50 ms
//
// <crc>: CRC-16, polynomial 0x1021, from 0xFFFF, over everything before " *", four capital hex digits. A line that is not exactly right is counted
// and forgotten. A velocity is obeyed only when armed, newer than the last and in range; it ends with its ttl, whatever the host believes.
#ifndef EV1_H
#define EV1_H

#include <stdint.h>

enum { EV1_DISARMED = 0, EV1_ARMED = 1, EV1_LATCHED = 2 };
enum { EV1_BUMPER = 1, EV1_CLIFF = 2, EV1_WHEEL_DROP = 4, EV1_OVER_CURRENT = 8 };
enum { EV1_LINE = 64, EV1_WHEELS = 4, EV1_WORDS = 6, EV1_REPORT_MS = 50, EV1_MAX_TTL_MS = 500, EV1_MAX_LINEAR = 2000, EV1_MAX_TURN = 6000 };

typedef void (*Ev1Write)(void *context, const char *line, uint8_t length);

struct Ev1 {
  // the board fills these in
  int32_t counters[EV1_WHEELS];
  uint8_t wheels;  // how many counters there are
  uint16_t battery_mv;
  uint8_t flags;
  // the board obeys these
  int32_t x_mm_s, y_mm_s, turn_mrad_s;
  uint8_t state;
  // the protocol's own
  Ev1Write write;
  void *context;
  uint32_t seq, deadline_ms, reported_ms, nonce;
  uint16_t rejected;
  char line[EV1_LINE];
  uint8_t length;
  uint8_t overflowed;
};

static inline uint16_t ev1_crc(const char *text, uint8_t length) {
  uint16_t crc = 0xFFFF;
  for (uint8_t k = 0; k < length; ++k) {
    crc ^= (uint16_t)((uint8_t)text[k] << 8);
    for (uint8_t bit = 0; bit < 8; ++bit) crc = (uint16_t)(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
  }
  return crc;
}

static inline void ev1_halt(struct Ev1 *me) { me->x_mm_s = me->y_mm_s = me->turn_mrad_s = 0; }

// A nonce that no earlier line can have named: it walks through all 32-bit numbers but zero.
static inline void ev1_renew(struct Ev1 *me) {
  me->nonce = me->nonce * 1664525u + 1013904223u;
  if (!me->nonce) me->nonce = 1;
}

static inline void ev1_stop(struct Ev1 *me) {
  ev1_halt(me);
  if (me->state != EV1_LATCHED) ev1_renew(me);
  me->state = EV1_LATCHED;
}

// -- saying

static inline uint8_t ev1_put(char *out, uint8_t at, int64_t value) {
  char digits[20];
  uint8_t count = 0;
  if (value < 0) {
    out[at++] = '-';
    value = -value;
  }
  do {
    digits[count++] = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  while (count) out[at++] = digits[--count];
  return at;
}

static inline void ev1_say(struct Ev1 *me, char *line, uint8_t at) {
  static const char HEX_DIGITS[] = "0123456789ABCDEF";
  const uint16_t crc = ev1_crc(line, at);
  line[at++] = ' ';
  line[at++] = '*';
  for (int8_t shift = 12; shift >= 0; shift = (int8_t)(shift - 4)) line[at++] = HEX_DIGITS[(crc >> shift) & 15];
  line[at++] = '\n';
  me->write(me->context, line, at);
}

static inline void ev1_report(struct Ev1 *me, uint32_t now_ms) {
  char line[140];
  uint8_t at = 0;
  const int64_t words[] = {now_ms, me->seq, me->state, me->nonce, me->battery_mv, me->flags, me->rejected};
  line[at++] = 'A';
  for (uint8_t k = 0; k < sizeof words / sizeof *words; ++k) {
    line[at++] = ' ';
    at = ev1_put(line, at, words[k]);
  }
  for (uint8_t k = 0; k < me->wheels; ++k) {
    line[at++] = ' ';
    at = ev1_put(line, at, me->counters[k]);
  }
  ev1_say(me, line, at);
  me->reported_ms = now_ms;
}

// `seed` should differ from boot to boot, for example from a floating analogue pin.
static inline void ev1_begin(struct Ev1 *me, uint8_t wheels, uint32_t seed, uint32_t now_ms, Ev1Write write, void *context) {
  *me = Ev1();
  me->wheels = wheels;
  me->nonce = seed;
  me->write = write;
  me->context = context;
  me->reported_ms = now_ms;
  ev1_renew(me);
  char line[16] = {'B', ' ', '1'};
  ev1_say(me, line, 3);
}

// -- hearing

// A whole number as the host writes it: no plus, no leading zero, at most ten digits. 0 for anything else.
static inline uint8_t ev1_number(const char *text, uint8_t length, int64_t *value) {
  const uint8_t negative = length && *text == '-';
  const uint8_t digits = (uint8_t)(length - negative);
  if (digits < 1 || digits > 10 || (text[negative] == '0' && (digits > 1 || negative))) return 0;
  *value = 0;
  for (uint8_t k = negative; k < length; ++k) {
    if (text[k] < '0' || text[k] > '9') return 0;
    *value = *value * 10 + (text[k] - '0');
  }
  if (negative) *value = -*value;
  return 1;
}

static inline uint8_t ev1_within(int64_t value, int64_t most) { return value >= -most && value <= most; }

static inline uint8_t ev1_velocity(struct Ev1 *me, const int64_t *word, uint32_t now_ms) {
  const uint8_t moves = word[1] || word[2] || word[3];
  if (word[0] <= (int64_t)me->seq || word[0] > 0xFFFFFFFFll) return 0;
  if (!ev1_within(word[1], EV1_MAX_LINEAR) || !ev1_within(word[2], EV1_MAX_LINEAR) || !ev1_within(word[3], EV1_MAX_TURN)) return 0;
  if (word[4] < 1 || word[4] > EV1_MAX_TTL_MS || (moves && me->state != EV1_ARMED)) return 0;
  me->seq = (uint32_t)word[0];
  me->deadline_ms = now_ms + (uint32_t)word[4];
  me->x_mm_s = (int32_t)word[1];
  me->y_mm_s = (int32_t)word[2];
  me->turn_mrad_s = (int32_t)word[3];
  return 1;
}

static inline uint8_t ev1_obey(struct Ev1 *me, char order, const int64_t *word, uint8_t words, uint32_t now_ms) {
  if (order == 'V' && words == 5) return ev1_velocity(me, word, now_ms);
  if (order == 'S' && words == 0) {
    ev1_stop(me);
    return 1;
  }
  if (order == 'H' && words == 0) {
    ev1_halt(me);
    me->seq = 0;
    if (me->state == EV1_ARMED) me->state = EV1_DISARMED;  // a latch outlives its host
    ev1_renew(me);
    return 1;
  }
  if (order == 'R' && words == 1 && word[0] == (int64_t)me->nonce) {
    ev1_halt(me);
    me->state = EV1_ARMED;
    ev1_renew(me);
    return 1;
  }
  return 0;
}

static inline uint8_t ev1_line(struct Ev1 *me, uint32_t now_ms) {
  static const char HEX_DIGITS[] = "0123456789ABCDEF";
  const uint8_t end = (uint8_t)(me->length - 6);  // of what the CRC is over
  if (me->overflowed || me->length < 7 || me->line[end] != ' ' || me->line[end + 1] != '*') return 0;
  const uint16_t crc = ev1_crc(me->line, end);
  for (uint8_t k = 0; k < 4; ++k)
    if (me->line[end + 2 + k] != HEX_DIGITS[(crc >> (12 - 4 * k)) & 15]) return 0;
  int64_t word[EV1_WORDS];
  uint8_t words = 0, at = 1;
  while (at < end) {
    if (me->line[at++] != ' ' || words == EV1_WORDS) return 0;
    uint8_t stop = at;
    while (stop < end && me->line[stop] != ' ') ++stop;
    if (!ev1_number(me->line + at, (uint8_t)(stop - at), &word[words++])) return 0;
    at = stop;
  }
  return ev1_obey(me, me->line[0], word, words, now_ms);
}

// One byte from the host. 1 when it ended a line that was obeyed.
static inline uint8_t ev1_byte(struct Ev1 *me, char byte, uint32_t now_ms) {
  if (byte != '\n') {
    if (me->length < EV1_LINE)
      me->line[me->length++] = byte;
    else
      me->overflowed = 1;
    return 0;
  }
  const uint8_t said = me->length || me->overflowed;
  const uint8_t obeyed = ev1_line(me, now_ms);
  if (said && !obeyed) ++me->rejected;
  me->length = me->overflowed = 0;
  return obeyed;
}

// At least every 10 ms: ends what has outlived its ttl, and reports.
static inline void ev1_tick(struct Ev1 *me, uint32_t now_ms) {
  if ((int32_t)(now_ms - me->deadline_ms) > 0) ev1_halt(me);
  if (now_ms - me->reported_ms >= EV1_REPORT_MS) ev1_report(me, now_ms);
}

// -- driving: surface speeds in mm/s out of what is wanted

static inline void ev1_differential(const struct Ev1 *me, int32_t track_mm, int32_t *left, int32_t *right) {
  const int32_t half = (int32_t)((int64_t)me->turn_mrad_s * track_mm / 2000);
  *left = me->x_mm_s - half;
  *right = me->x_mm_s + half;
}

// Front left, front right, rear left, rear right; `reach_mm` is half the track and half the wheelbase together.
static inline void ev1_mecanum(const struct Ev1 *me, int32_t reach_mm, int32_t *wheels) {
  const int32_t turn = (int32_t)((int64_t)me->turn_mrad_s * reach_mm / 1000);
  wheels[0] = me->x_mm_s - me->y_mm_s - turn;
  wheels[1] = me->x_mm_s + me->y_mm_s + turn;
  wheels[2] = me->x_mm_s + me->y_mm_s - turn;
  wheels[3] = me->x_mm_s - me->y_mm_s + turn;
}

#endif
