// The few names of Arduino that ev1.ino uses, so that a host's compiler can read the sketch. Nothing runs.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#define A0 14
#define A3 17
#define INPUT_PULLUP 2
#define OUTPUT 1
#define CHANGE 1
#define constrain(x, low, high) ((x) < (low) ? (low) : (x) > (high) ? (high) : (x))
#define abs(x) ((x) > 0 ? (x) : -(x))
struct Port {
  void begin(long);
  int available();
  int read();
  size_t write(const uint8_t *, size_t);
};
extern Port Serial;
unsigned long millis();
void pinMode(uint8_t, uint8_t);
void digitalWrite(uint8_t, uint8_t);
int digitalRead(uint8_t);
int analogRead(uint8_t);
void analogWrite(uint8_t, int);
uint8_t digitalPinToInterrupt(uint8_t);
void attachInterrupt(uint8_t, void (*)(), int);
void noInterrupts();
void interrupts();
