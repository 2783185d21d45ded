package inpaint_server.front_door;

import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpResponseStatus;
import java.util.UUID;

/** Gathers a request's pieces, up to a number of bytes that lies beyond the engine's own limit. */
public final class Gatherer extends HttpObjectAggregator {
    public Gatherer(int maxBytes) {
        super(maxBytes);
    }

    @Override
    protected void handleOversizedMessage(ChannelHandlerContext context, HttpMessage request) {
        String id = UUID.randomUUID().toString();
        context.writeAndFlush(Wording.of(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, id))
                .addListener(ChannelFutureListener.CLOSE_ON_FAILURE);
    }
}
