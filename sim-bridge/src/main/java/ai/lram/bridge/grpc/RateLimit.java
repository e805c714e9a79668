package ai.lram.bridge.grpc;

/** A token bucket. Single thread; allocates nothing. */
final class RateLimit {
    private final double perNs;
    private final double burst;
    private double tokens;
    private long lastNs;

    RateLimit(int perSecond, int burst, long nowNs) {
        this.perNs = perSecond * 1e-9;
        this.burst = burst;
        this.tokens = burst;
        this.lastNs = nowNs;
    }

    boolean allows(long nowNs) {
        tokens = Math.min(burst, tokens + (nowNs - lastNs) * perNs);
        lastNs = nowNs;
        if (tokens < 1) {
            return false;
        }
        tokens--;
        return true;
    }
}
