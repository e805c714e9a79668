package ai.lram.runtime.time;

/** Alarms at monotonic times. One alarm belongs to one owner that moves it again and again; moving it allocates nothing. */
public interface WakeTimer extends AutoCloseable {
    /** Value of {@link Alarm#set} that means "not set". */
    long NEVER = Long.MAX_VALUE;

    /**
     * Registers an alarm that is not set yet.
     *
     * @param onDue runs on the timer's thread when the alarm is due and must only hand over a message
     */
    Alarm register(Runnable onDue);

    /** Stops the timer; no alarm fires afterwards. */
    @Override
    void close();

    /** One alarm. {@link #set} and {@link #cancel} may be called by any one thread at a time. */
    interface Alarm {
        /** Fires once at {@code atNs} or soon after, in place of the time set before; {@link WakeTimer#NEVER} clears it. */
        void set(long atNs);

        /** Removes the alarm from its timer for good. */
        void cancel();
    }
}
