/* What the emulated board gives to main.c: a character out, and the bounds of one invoke. */
#ifndef EK_PORT_H
#define EK_PORT_H

int ek_putchar(int character);
void ek_probe_begin(void);
void ek_probe_end(void);

#endif
