// ev1.h as a library for the simulator: the same file a board compiles, reached through plain functions.
#include <string>

#include "ev1.h"

struct Host {
  Ev1 base;
  std::string said;
};

static void write_line(void *context, const char *line, uint8_t length) { static_cast<Host *>(context)->said.append(line, length); }

extern "C" {
Host *ev1_host_new(unsigned wheels, uint32_t seed, uint32_t now_ms) {
  Host *host = new Host();
  ev1_begin(&host->base, static_cast<uint8_t>(wheels), seed, now_ms, write_line, host);
  return host;
}
void ev1_host_delete(Host *host) { delete host; }
int ev1_host_byte(Host *host, char byte, uint32_t now_ms) { return ev1_byte(&host->base, byte, now_ms); }
void ev1_host_tick(Host *host, uint32_t now_ms) { ev1_tick(&host->base, now_ms); }
void ev1_host_stop(Host *host) { ev1_stop(&host->base); }
void ev1_host_sense(Host *host, const int32_t *counters, uint32_t battery_mv, uint32_t flags) {
  for (unsigned k = 0; k < host->base.wheels; ++k) host->base.counters[k] = counters[k];
  host->base.battery_mv = static_cast<uint16_t>(battery_mv);
  host->base.flags = static_cast<uint8_t>(flags);
}
int ev1_host_state(const Host *host) { return host->base.state; }
unsigned ev1_host_rejected(const Host *host) { return host->base.rejected; }
void ev1_host_wheels(const Host *host, int32_t size_mm, int32_t *out) {
  if (host->base.wheels == 4)
    ev1_mecanum(&host->base, size_mm, out);
  else
    ev1_differential(&host->base, size_mm, &out[0], &out[1]);
}
int ev1_host_take(Host *host, char *out, int room) {
  const int count = static_cast<int>(host->said.size()) < room ? static_cast<int>(host->said.size()) : room;
  host->said.copy(out, static_cast<size_t>(count));
  host->said.erase(0, static_cast<size_t>(count));
  return count;
}
}
