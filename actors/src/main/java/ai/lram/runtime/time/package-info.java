/** Injected time: the monotonic clock, alarms at monotonic times, and how long the process was paused. */
package ai.lram.runtime.time;
