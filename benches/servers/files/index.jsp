<% Thread.sleep((long) (1000 * Double.parseDouble(request.getQueryString()))); %>ok
