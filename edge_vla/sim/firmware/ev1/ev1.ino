// EV1 on an Arduino with two geared motors, a two-channel H-bridge and quadrature encoders. Adjust the block below, flash, then run
// `python -m edge_vla.run --robot YOUR_PROFILE.toml` with the wheels off the ground. Not tested on hardware: the protocol in ev1.h is, by the
// simulator, byte by byte; pins and loop gains are yours.
#include "ev1.h"

// -- your robot
const int32_t TRACK_MM = 200;          // between the wheels
const int32_t COUNTS_PER_M = 5000;     // of an encoder, on a metre of wheel
const uint8_t PWM[2] = {5, 6}, FORWARD[2] = {7, 9}, BACKWARD[2] = {8, 10}, A[2] = {2, 3}, B[2] = {4, 11};  // left, right
const uint8_t STOP_BUTTON = 12;        // to ground; it latches. Cut the motors' supply with a second contact as well
const uint8_t FLOATING = A3;           // not connected: makes each boot's nonce another
const uint8_t BATTERY = A0;
const float BATTERY_MV_PER_STEP = 15.3;
const float FEED_FORWARD = 0.25, P = 0.4, I = 2.0;  // PWM steps for a mm/s; 255 is full

Ev1 base;
volatile int32_t counters[2];
float integral[2];
int32_t last_counters[2];
uint32_t last_ms;

void say(void *, const char *line, uint8_t length) { Serial.write(reinterpret_cast<const uint8_t *>(line), length); }
void count_left() { counters[0] += digitalRead(A[0]) == digitalRead(B[0]) ? 1 : -1; }
void count_right() { counters[1] += digitalRead(A[1]) == digitalRead(B[1]) ? -1 : 1; }

void turn(uint8_t side, float pwm) {
  digitalWrite(FORWARD[side], pwm > 0);
  digitalWrite(BACKWARD[side], pwm < 0);
  analogWrite(PWM[side], constrain(abs(pwm), 0, 255));
}

void regulate(uint8_t side, int32_t wanted_mm_s, uint32_t passed_ms) {
  const float measured = (base.counters[side] - last_counters[side]) * 1e6f / COUNTS_PER_M / passed_ms;
  last_counters[side] = base.counters[side];
  if (wanted_mm_s == 0) {
    integral[side] = 0;
    turn(side, 0);
    return;
  }
  const float error = wanted_mm_s - measured;
  integral[side] = constrain(integral[side] + I * error * passed_ms * 1e-3f, -255.0f, 255.0f);
  turn(side, FEED_FORWARD * wanted_mm_s + P * error + integral[side]);
}

void setup() {
  Serial.begin(115200);
  pinMode(STOP_BUTTON, INPUT_PULLUP);
  for (uint8_t side = 0; side < 2; ++side) {
    pinMode(PWM[side], OUTPUT);
    pinMode(FORWARD[side], OUTPUT);
    pinMode(BACKWARD[side], OUTPUT);
    pinMode(A[side], INPUT_PULLUP);
    pinMode(B[side], INPUT_PULLUP);
    turn(side, 0);
  }
  attachInterrupt(digitalPinToInterrupt(A[0]), count_left, CHANGE);
  attachInterrupt(digitalPinToInterrupt(A[1]), count_right, CHANGE);
  ev1_begin(&base, 2, analogRead(FLOATING), millis(), say, nullptr);
  last_ms = millis();
}

void loop() {
  while (Serial.available()) ev1_byte(&base, static_cast<char>(Serial.read()), millis());
  const uint32_t passed_ms = millis() - last_ms;
  if (passed_ms < 10) return;
  last_ms += passed_ms;
  noInterrupts();
  base.counters[0] = counters[0];
  base.counters[1] = counters[1];
  interrupts();
  base.battery_mv = static_cast<uint16_t>(analogRead(BATTERY) * BATTERY_MV_PER_STEP);
  if (!digitalRead(STOP_BUTTON)) ev1_stop(&base);
  ev1_tick(&base, millis());
  int32_t wanted[2];
  ev1_differential(&base, TRACK_MM, &wanted[0], &wanted[1]);
  for (uint8_t side = 0; side < 2; ++side) regulate(side, wanted[side], passed_ms);
}
