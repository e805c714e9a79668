/** Recording of sessions, off the control path: whole episodes or nothing, within a fixed amount of memory. */
package ai.lram.runtime.recording;
